package main

import (
	"os"
	"os/user"
	"strconv"

	"contactmirror/internal/operator"
)

// actor is who runs this command, as operator_actions is to name them: the user,
// who may have become root by sudo, and the host.
func (i *invocation) actor() operator.Actor {
	name := environment(i.environ)["SUDO_USER"]
	if name == "" {
		name = strconv.Itoa(os.Getuid()) // of a container's user, often the only name
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return operator.Actor(name + "@" + host)
}
