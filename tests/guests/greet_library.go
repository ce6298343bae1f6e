// A library (reactor): without `_initialize` Go's runtime is not there, and each export traps.
package main

import "fmt"

var names = map[string]int{"ready": 1}

//go:wasmexport say
func say() { fmt.Println("ready", names["ready"], "time(s)") }

func main() {}
