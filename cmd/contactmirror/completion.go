package main

import (
	"fmt"
	"io"
	"strings"
	"text/template"

	"github.com/alecthomas/kong"
)

// completionCmd prints a completion script.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help says how to use the scripts.
func (completionCmd) Help() string {
	return `For this shell session:

    bash   source <(contactmirror completion bash)
    zsh    source <(contactmirror completion zsh)
    fish   contactmirror completion fish | source`
}

// Run prints the script, made from the grammar itself.
func (c *completionCmd) Run(call *invocation) error {
	return writeCompletion(call.stdout, c.Shell, call.model)
}

// place is a point on the command line and what can follow there. The words
// before it, such as "migrate up", are its path; the top has none.
type place struct {
	Path     string
	Commands []word
	Flags    []word
}

type word struct{ Text, Help string }

// places lists node and all below it.
func places(node *kong.Node, path string) []place {
	here := place{Path: path}
	var below []place
	for _, child := range node.Children {
		here.Commands = append(here.Commands, word{child.Name, child.Help})
		below = append(below, places(child, strings.TrimSpace(path+" "+child.Name))...)
	}
	for _, arg := range node.Positional {
		if arg.Enum == "" {
			continue
		}
		for _, choice := range arg.EnumSlice() {
			here.Commands = append(here.Commands, word{Text: choice})
		}
	}
	for _, flag := range node.Flags {
		// One sentence is what fits beside a word.
		help, _, _ := strings.Cut(flag.Help, ". ")
		here.Flags = append(here.Flags, word{"--" + flag.Name, strings.TrimSuffix(help, ".")})
	}
	if node.Parent != nil {
		here.Flags = append(here.Flags, word{"--help", "Show help"})
	}
	return append([]place{here}, below...)
}

func writeCompletion(w io.Writer, shell string, model *kong.Application) error {
	quote := func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
	script, err := template.New(shell).Funcs(template.FuncMap{
		"quote": quote,
		// zsh's _describe parts word and help at the first colon.
		"described": func(w word) string { return quote(strings.ReplaceAll(w.Text, ":", `\:`) + ":" + w.Help) },
	}).Parse(completionScripts[shell])
	if err != nil {
		return fmt.Errorf("completion for %s: %w", shell, err)
	}
	return script.Execute(w, places(model.Node, ""))
}

// completionScripts walk the words before the cursor, keep those that lead to a
// command, and offer what can follow there; where nothing does, file names.
var completionScripts = map[string]string{
	"bash": `# bash completion for contactmirror
_contactmirror() {
	local at= word words=
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case "${at:+$at }$word" in
		{{range $i, $p := .}}{{if $p.Path}}{{if gt $i 1}} | {{end}}{{quote $p.Path}}{{end}}{{end}}) at="${at:+$at }$word" ;;
		esac
	done
	case "$at" in
{{- range .}}
	{{quote .Path}}) words='{{range .Commands}}{{.Text}} {{end}}{{range .Flags}}{{.Text}} {{end}}' ;;
{{- end}}
	esac
	COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _contactmirror contactmirror
`,
	"zsh": `#compdef contactmirror
_contactmirror() {
	local at= word
	local -a commands flags
	for word in "${(@)words[2,CURRENT-1]}"; do
		case "${at:+$at }$word" in
		{{range $i, $p := .}}{{if $p.Path}}{{if gt $i 1}} | {{end}}{{quote $p.Path}}{{end}}{{end}}) at="${at:+$at }$word" ;;
		esac
	done
	case "$at" in
{{- range .}}
	{{quote .Path}})
		commands=({{range .Commands}}{{described .}} {{end}})
		flags=({{range .Flags}}{{described .}} {{end}}) ;;
{{- end}}
	esac
	if [[ $words[CURRENT] == -* ]]; then
		_describe -o flag flags
	elif (( $#commands )); then
		_describe command commands
	else
		_files
	fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
	_contactmirror "$@"
else
	compdef _contactmirror contactmirror
fi
`,
	"fish": `# fish completion for contactmirror
function __contactmirror_at
	set -l at
	for word in (commandline -opc)[2..]
		switch (string join ' ' $at $word)
			case {{range .}}{{if .Path}}{{quote .Path}} {{end}}{{end}}
				set -a at $word
		end
	end
	test "$at" = "$argv[1]"
end
{{- range .}}
{{- $at := .Path}}
{{- range .Commands}}
complete -c contactmirror -f -n "__contactmirror_at '{{$at}}'" -a {{.Text}} -d {{quote .Help}}
{{- end}}
{{- range .Flags}}
complete -c contactmirror -n "__contactmirror_at '{{$at}}'" -l {{slice .Text 2}} -d {{quote .Help}}
{{- end}}
{{- end}}
`,
}
