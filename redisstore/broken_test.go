package redisstore

import (
	"bytes"
	"net"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// A link that breaks in the middle of a reply, and one that breaks behind it.
func TestAReplyThatBrokeInTheMiddleIsNone(t *testing.T) {
	for _, c := range []struct {
		sent string
		want bool
	}{
		{"*4\r\n$1\r\n#\r\n$1\r\n7\r\n$3\r\nab", false},
		{"*2\r\n:1\r\n*2\r\n:2\r\n", false},
		{"*4\r\n", false},
		{"$10\r\nhalf", false},
		{"*0\r\n", true},
		{"*1\r\n:1\r\n", true},
		{"$2\r\nok\r\n", true},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			buf := make([]byte, 4096)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				if bytes.Contains(buf[:n], []byte("hgetall")) {
					_, _ = conn.Write([]byte(c.sent)) // the next command is not answered
					return
				}
				_, _ = conn.Write([]byte("-ERR unknown command\r\n"))
			}
		}()
		client := redis.NewClient(&redis.Options{
			Addr: l.Addr().String(), Protocol: 2, MaxRetries: -1, DisableIdentity: true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		})
		first, second := redis.NewCmd(t.Context(), "hgetall", "room"), redis.NewCmd(t.Context(), "ping")
		pipe := client.Pipeline()
		_ = pipe.BatchProcess(t.Context(), first, second)
		_, _ = pipe.Exec(t.Context())
		if got := whole(first.Val()); got != c.want {
			t.Errorf("%q, then the end: whole is %v, want %v (%#v, %v)", c.sent, got, c.want, first.Val(), first.Err())
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		l.Close()
		<-served
	}
}
