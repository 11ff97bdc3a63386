package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buildFloor compiles the floor, as `make bench` does.
func buildFloor(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "floor")
	out, err := exec.Command("gcc", "-std=c11", "-O2", "-o", program, "../../tools/floor/floor.c").CombinedOutput()
	if err != nil {
		t.Fatalf("gcc (apt-get install gcc libc6-dev): %v\n%s", err, out)
	}
	return program
}

func runFloor(t *testing.T, args ...string) *floor {
	t.Helper()
	f, err := startFloor(context.Background(), t.TempDir(), buildFloor(t), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Stop(patience) })
	return f
}

func connectTo(t *testing.T, f *floor, n int) *fleet {
	t.Helper()
	c, err := new(harness).connectFloor(f, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

func TestFloorEchoesWithTheLengthItIsTold(t *testing.T) {
	for _, c := range []struct {
		request string
		reply   int
		want    string
	}{
		{"hello", 0, "hello"},
		{"hello", 3, "hel"},
		{"hello", 8, "hello   "},
		{strings.Repeat("x", 200), 0, strings.Repeat("x", 200)},
		{strings.Repeat("y", 5000), 300, strings.Repeat("y", 300)},
	} {
		f := connectTo(t, runFloor(t, "--reply", strconv.Itoa(c.reply)), 1)
		got, err := f.ask(0, masked(opText, []byte(c.request)), func([]byte) bool { return true })
		if err != nil || string(got) != c.want {
			t.Errorf("%.10q of %d bytes, --reply %d: got %.20q (%d bytes), %v; want %.20q (%d bytes)",
				c.request, len(c.request), c.reply, got, len(got), err, c.want, len(c.want))
		}
	}
}

func TestFloorFansOutToEverySocket(t *testing.T) {
	const sockets = 50
	f := connectTo(t, runFloor(t, "--fanout", "--reply", "250"), sockets)
	got := make([]int, sockets)
	sum := 0
	f.onFrame = func(i int, payload []byte) {
		if len(payload) != 250 || !bytes.HasPrefix(payload, []byte("news ")) {
			t.Errorf("socket %d got %q", i, payload)
		}
		got[i]++
		sum++
	}
	for range 3 {
		f.send(7, masked(opText, []byte("news")))
	}
	if err := f.until(func() bool { return sum == 3*sockets }); err != nil {
		t.Fatal(err)
	}
	for i, n := range got {
		if n != 3 {
			t.Errorf("socket %d got %d frames, want 3", i, n)
		}
	}
}

func TestFramesInPiecesArriveWholeAndACloseIsAnError(t *testing.T) {
	f := connectTo(t, runFloor(t), 2)
	cut := masked(opText, []byte("in pieces"))
	for i := range cut {
		f.send(0, cut[i:i+1])
	}
	got, err := f.ask(0, masked(opText, []byte("behind it")), func(p []byte) bool { return string(p) == "in pieces" })
	if err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	f.send(1, masked(opClose, []byte{3, 232}))
	if err := f.until(func() bool { return false }); err == nil || !strings.Contains(err.Error(), "connection 1") {
		t.Errorf("after a close: got %v, want an error that names connection 1", err)
	}
}

func TestARefusedUpgradeIsAnErrorWithTheAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Read(make([]byte, 4096))
		_, _ = c.Write([]byte("HTTP/1.1 401 Unauthorized\r\n\r\nwrong key"))
	}()
	f, err := newFleet(l.Addr().(*net.TCPAddr).Port, func(int) string { return "/core" }, true)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := f.dial(1, 1); err == nil || !strings.Contains(err.Error(), "401 Unauthorized") || !strings.Contains(err.Error(), "wrong key") {
		t.Errorf("got %v, want the server's answer", err)
	}
}

func TestFramesAreWhatGobwasReadsAndWrites(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 1000, 65535} {
		payload := bytes.Repeat([]byte("p"), n)
		ours := masked(opText, payload)
		r := bytes.NewReader(ours)
		head, err := ws.ReadHeader(r)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		read := bytes.Clone(ours[len(ours)-r.Len():])
		ws.Cipher(read, head.Mask, 0)
		if !head.Fin || !head.Masked || head.OpCode != ws.OpText || !bytes.Equal(read, payload) {
			t.Errorf("%d bytes: gobwas reads %+v and %d bytes", n, head, len(read))
		}
		written := ws.MustCompileFrame(ws.NewTextFrame(payload))
		op, got, size := frameOf(append(written, "next"...))
		if op != opText || !bytes.Equal(got, payload) || size != len(written) {
			t.Errorf("%d bytes: read opcode %d, %d bytes, size %d", n, op, len(got), size)
		}
		for cut := range min(len(written), 20) {
			if _, _, size := frameOf(written[:cut]); size != 0 {
				t.Errorf("%d bytes cut at %d: taken as a whole frame of %d", n, cut, size)
			}
		}
	}
}

func TestRoundsAreMeasuredOnTheFloor(t *testing.T) {
	server := runFloor(t, "--reply", "100")
	f := connectTo(t, server, 20)
	perMessage, err := f.echoRound(masked(opText, []byte("hello")), 50*time.Millisecond, server.PID())
	if err != nil || perMessage <= 0 {
		t.Errorf("echo: got %v µs, %v", perMessage, err)
	}
	fan := runFloor(t, "--fanout")
	g := connectTo(t, fan, 20)
	perDelivery, err := g.deliveryRound(masked(opText, []byte("hello")), 2, 50*time.Millisecond, fan.PID(), func([]byte) bool { return true })
	if err != nil || perDelivery <= 0 {
		t.Errorf("delivery: got %v µs, %v", perDelivery, err)
	}
}

func TestCPUAndMemoryOfAProcessAreRead(t *testing.T) {
	before, err := cpu(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var sink strings.Builder
	for now := before; now-before < 20*1e6; { // until the kernel has charged us with 20 ms
		fmt.Fprint(&sink, len(sink.String()))
		if now, err = cpu(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	bytes, err := rss(os.Getpid())
	if err != nil || bytes < 1<<20 {
		t.Errorf("resident: got %d bytes, %v; want at least 1 MiB", bytes, err)
	}
	if _, err := cpu(1 << 30); err == nil {
		t.Error("CPU of a process that is not there: no error")
	}
}
