package node

import (
	"encoding/binary"
	"errors"

	"github.com/gobwas/ws"
)

// The reader's part of RFC 6455, section 5.2, on bytes that are already there.
// gobwas's own ws.ReadHeader wants a reader that blocks; a loop has none.
//
//	 0               1               2 …
//	 FIN RSV OPCODE  MASK LEN7       [2 or 8 bytes of length] [4 bytes of mask]
//	 1   3   4       1    7

// maxHeader is the longest header of a masked frame.
const maxHeader = 14

var (
	// errShort says that the header is not complete yet.
	errShort = errors.New("header not complete")
	// errLength is a length that has a shorter form, or one with its top bit set:
	// section 5.2 forbids both, ws.ReadHeader accepts the first.
	errLength = errors.New("length of a frame not in its shortest form")
)

// parseHeader reads the frame header at the start of b and returns it with its
// own length. It allocates nothing and looks at no byte behind the header.
func parseHeader(b []byte) (h ws.Header, n int, err error) {
	if len(b) < 2 {
		return h, 0, errShort
	}
	h.Fin = b[0]&0x80 != 0
	h.Rsv = b[0] >> 4 & 7
	h.OpCode = ws.OpCode(b[0] & 0x0f)
	h.Masked = b[1]&0x80 != 0
	n = 2
	switch l := b[1] & 0x7f; l {
	case 126:
		if len(b) < 4 {
			return h, 0, errShort
		}
		h.Length = int64(binary.BigEndian.Uint16(b[2:]))
		if h.Length < 126 {
			return h, 0, errLength
		}
		n = 4
	case 127:
		if len(b) < 10 {
			return h, 0, errShort
		}
		long := binary.BigEndian.Uint64(b[2:])
		if long < 1<<16 || long>>63 != 0 {
			return h, 0, errLength
		}
		h.Length = int64(long)
		n = 10
	default:
		h.Length = int64(l)
	}
	if h.Masked {
		if len(b) < n+4 {
			return h, 0, errShort
		}
		copy(h.Mask[:], b[n:])
		n += 4
	}
	return h, n, nil
}

// appendFrame appends an unmasked, final frame of the given kind.
func appendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	dst = append(dst, 0x80|byte(op))
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, byte(n))
	case n < 1<<16:
		dst = append(dst, 126, byte(n>>8), byte(n))
	default:
		dst = append(dst, 127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	return append(dst, payload...)
}

// textFrame returns payload as a text frame in a slice of exactly its size.
func textFrame(payload []byte) []byte {
	return appendFrame(make([]byte, 0, len(payload)+10), ws.OpText, payload)
}

// appendClose appends a close frame with a code and a reason of at most 123 bytes.
func appendClose(dst []byte, code ws.StatusCode, reason string) []byte {
	body := make([]byte, 2, 2+len(reason))
	binary.BigEndian.PutUint16(body, uint16(code))
	return appendFrame(dst, ws.OpClose, append(body, reason...))
}
