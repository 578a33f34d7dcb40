package parts

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Progress reports on w a job that takes longer than two seconds, again every fifteen seconds, and,
// when done is called, the time that it took. It reports nothing of shorter jobs. done may be
// called more than once.
func Progress(w io.Writer, what string) (done func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		report(w, what, stop)
	}()
	var once sync.Once
	return func() {
		once.Do(func() { close(stop) })
		<-stopped
	}
}

func report(w io.Writer, what string, stop <-chan struct{}) {
	start := time.Now()
	wait := 2 * time.Second
	for {
		select {
		case <-stop:
			if took := time.Since(start); took >= 2*time.Second {
				fmt.Fprintf(w, "… %s: %.0f s\n", what, took.Seconds())
			}
			return
		case <-time.After(wait):
			fmt.Fprintf(w, "… %s, %.0f s so far\n", what, time.Since(start).Seconds())
			wait = 15 * time.Second
		}
	}
}
