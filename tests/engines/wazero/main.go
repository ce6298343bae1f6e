// A command-line WebAssembly engine that follows links, for the tests: wazero.
//
//	wazero [-ro NAME=DIR] [-rw NAME=DIR] [-env NAME=VALUE] MODULE ARGS...
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Println("wazero 1.9.0")
		return
	}
	os.Exit(run(os.Args[1:]))
}

func run(words []string) int {
	files := wazero.NewFSConfig()
	config := wazero.NewModuleConfig().WithStdin(os.Stdin).WithStdout(os.Stdout).WithStderr(os.Stderr)
	config = config.WithSysWalltime().WithSysNanotime().WithSysNanosleep()
	for len(words) > 2 && strings.HasPrefix(words[0], "-") {
		name, value, _ := strings.Cut(words[1], "=")
		switch words[0] {
		case "-ro":
			files = files.WithReadOnlyDirMount(value, name)
		case "-rw":
			files = files.WithDirMount(value, name)
		case "-env":
			config = config.WithEnv(name, value)
		}
		words = words[2:]
	}
	module, err := os.ReadFile(words[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	background := context.Background()
	runtime := wazero.NewRuntimeWithConfig(background, wazero.NewRuntimeConfigInterpreter())
	wasi_snapshot_preview1.MustInstantiate(background, runtime)
	_, err = runtime.InstantiateWithConfig(background, module, config.WithFSConfig(files).WithArgs(words...))
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return int(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 134
	}
	return 0
}
