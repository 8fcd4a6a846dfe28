//go:build ignore

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"contactmirror/internal/localpg"
)

func main() {
	os.Mkdir("/tmp/tduserver", 0o711)
	s, err := localpg.Start(context.Background(), localpg.Options{Dir: "/tmp/tduserver", DieWithParent: true})
	if err != nil {
		panic(err)
	}
	defer s.Stop(context.Background())
	var cs []*exec.Cmd
	for range 3 {
		c := exec.Command("go", "test", "-count=1", "./internal/pgtest")
		c.Env = append(os.Environ(), "TEST_DATABASE_URL="+s.URL())
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		c.Start()
		cs = append(cs, c)
	}
	for _, c := range cs {
		fmt.Println(c.Wait())
	}
	c := exec.Command("psql", s.URL(), "-Atc", "select datname from pg_database")
	c.Stdout = os.Stdout
	c.Run()
}
