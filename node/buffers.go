package node

// buffers keeps read buffers in four sizes. Not a sync.Pool: the loop is their
// only user, and a collection must not throw them away in a storm.
type buffers struct{ free [4][][]byte }

var bufferSizes = [4]int{512, 4 << 10, 64 << 10, 256<<10 + maxHeader}

// get returns an empty buffer with room for at least n bytes.
func (b *buffers) get(n int) []byte {
	for i, size := range bufferSizes {
		if n > size {
			continue
		}
		if k := len(b.free[i]); k > 0 {
			buf := b.free[i][k-1]
			b.free[i] = b.free[i][:k-1]
			return buf
		}
		return make([]byte, 0, size)
	}
	return make([]byte, 0, n)
}

// put takes a buffer back. At most 64 of a size are kept.
func (b *buffers) put(buf []byte) {
	for i, size := range bufferSizes {
		if cap(buf) == size && len(b.free[i]) < 64 {
			b.free[i] = append(b.free[i], buf[:0])
			return
		}
	}
}
