// Command composecheck loads Compose files, every profile included, as the
// docker compose client would, and exits 1 on what that would refuse: a key or
// value that the specification doesn't know, a dependency, secret, network or
// volume that isn't there. It needs no Docker and reads no environment.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if err := check(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "composecheck:", err)
		os.Exit(1)
	}
}

func check(ctx context.Context, files []string) error {
	options, err := cli.NewProjectOptions(files, cli.WithProfiles([]string{"*"}))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%v: services %v\n", files, project.ServiceNames())
	return nil
}
