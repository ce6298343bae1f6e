// Files by the library of a language that has a working directory of its own.
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	switch what := os.Args[1]; what {
	case "cwd":
		var cwd string
		cwd, err = os.Getwd()
		fmt.Println(cwd)
	case "read":
		var data []byte
		data, err = os.ReadFile(os.Args[2])
		fmt.Print(string(data))
	case "write":
		err = os.WriteFile(os.Args[2], []byte(os.Args[3]), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
