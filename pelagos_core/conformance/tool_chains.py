"""Programs in C, Go and Rust, compiled if the machine has the tool chain.

The standard library of a language uses WASI differently from modules that are written by hand. The programs are small
and do the same in each language.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pelagos_core.conformance.runner import Ended, Runner

feature = pytest.mark.feature
_BUILD_SECONDS = 300

_C = r"""
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
  char line[100] = "", path[200];
  struct timespec before, after, pause = {0, 20000000};
  printf("argument: %s\nvariable: %s\n", argv[1], getenv("GREETING"));
  if (fgets(line, sizeof line, stdin)) printf("input: %s", line);
  if (mkdir("/work/made", 0777)) return 10;
  FILE *file = fopen("/work/made/file", "w+");
  if (!file || fprintf(file, "written %d\n", 42) < 0 || fseek(file, 8, SEEK_SET)) return 11;
  printf("file: %s", fgets(line, sizeof line, file));
  fclose(file);
  if (rename("/work/made/file", "/work/made/moved") || access("/work/made/moved", F_OK)) return 12;
  DIR *directory = opendir("/work/made");
  for (struct dirent *entry; directory && (entry = readdir(directory));)
    if (entry->d_name[0] != '.') printf("entry: %s\n", entry->d_name);
  if (remove("/work/made/moved") || rmdir("/work/made")) return 13;
  if (fopen("/work/none", "r")) return 14;
  clock_gettime(CLOCK_MONOTONIC, &before);
  nanosleep(&pause, NULL);
  clock_gettime(CLOCK_MONOTONIC, &after);
  if ((after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec < 19000000) return 15;
  fprintf(stderr, "to stderr\n");
  return 42;
}
"""

_GO = r"""
package main

import (
	"bufio"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"
)

func check(err error, code int) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(code)
	}
}

func main() {
	fmt.Printf("argument: %s\nvariable: %s\n", os.Args[1], os.Getenv("GREETING"))
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	fmt.Print("input: ", line)
	check(os.Mkdir("/work/made", 0o777), 10)
	check(os.WriteFile("/work/made/file", []byte("written 42\n"), 0o666), 11)
	data, err := os.ReadFile("/work/made/file")
	check(err, 11)
	fmt.Print("file: ", string(data[8:]))
	check(os.Rename("/work/made/file", "/work/made/moved"), 12)
	entries, err := os.ReadDir("/work/made")
	check(err, 12)
	for _, entry := range entries {
		fmt.Println("entry:", entry.Name())
	}
	check(os.RemoveAll("/work/made"), 13)
	if _, err := os.Open("/work/none"); !os.IsNotExist(err) {
		os.Exit(14)
	}
	before := time.Now()
	var group sync.WaitGroup
	numbers := make([]int, 100)
	for i := range numbers {
		group.Add(1)
		go func() { defer group.Done(); time.Sleep(20 * time.Millisecond); numbers[i] = i }()
	}
	group.Wait()
	if time.Since(before) < 19*time.Millisecond || !sort.IntsAreSorted(numbers) || numbers[99] != 99 {
		os.Exit(15)
	}
	fmt.Fprintln(os.Stderr, "to stderr")
	os.Exit(42)
}
"""

_RUST = r"""
use std::{env, fs, io, process, thread, time};

fn main() {
    println!("argument: {}\nvariable: {}", env::args().nth(1).unwrap(), env::var("GREETING").unwrap());
    let mut line = String::new();
    io::stdin().read_line(&mut line).unwrap();
    print!("input: {line}");
    fs::create_dir("/work/made").unwrap();
    fs::write("/work/made/file", "written 42\n").unwrap();
    print!("file: {}", &fs::read_to_string("/work/made/file").unwrap()[8..]);
    fs::rename("/work/made/file", "/work/made/moved").unwrap();
    for entry in fs::read_dir("/work/made").unwrap() {
        println!("entry: {}", entry.unwrap().file_name().to_str().unwrap());
    }
    fs::remove_dir_all("/work/made").unwrap();
    assert_eq!(fs::File::open("/work/none").unwrap_err().kind(), io::ErrorKind::NotFound);
    let before = time::Instant::now();
    thread::sleep(time::Duration::from_millis(20));
    assert!(before.elapsed().as_millis() >= 19);
    eprintln!("to stderr");
    process::exit(42)
}
"""


def _zig() -> list[str]:
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang"]
    return [found] if (found := shutil.which("zig")) else []


def _c(source: Path, target: Path) -> list[str]:
    clang = [f"{sdk}/bin/clang"] if (sdk := os.environ.get("WASI_SDK_PATH")) else []
    zig = [*_zig(), "cc", "-target", "wasm32-wasi"] if _zig() else []
    return [*(clang or zig), "-Os", "-s", "-o", str(target), str(source)] if clang or zig else []


def _go(source: Path, target: Path) -> list[str]:
    return [found, "build", "-o", str(target), str(source)] if (found := shutil.which("go")) else []


def _rust(source: Path, target: Path) -> list[str]:
    rustc = shutil.which("rustc")
    if not rustc:
        return []
    words = [rustc, "--print", "target-libdir", "--target", "wasm32-wasip1"]
    found = subprocess.run(words, capture_output=True, check=False)
    if not Path(found.stdout.decode().strip() or "/nowhere").is_dir():
        return []
    return [rustc, "--target", "wasm32-wasip1", "-O", "-o", str(target), str(source)]


@dataclass(frozen=True)
class Language:
    """A language: its program, the file's name, and the build command; the command is empty without a tool chain."""

    text: str
    file: str
    command: Callable[[Path, Path], list[str]]


LANGUAGES = {
    "C": Language(_C, "program.c", _c),
    "Go": Language(_GO, "program.go", _go),
    "Rust": Language(_RUST, "program.rs", _rust),
}


def build(name: str, directory: Path) -> Path:
    """Build a language's program. Skips the test if the tool chain is missing."""
    language = LANGUAGES[name]
    source, target = directory / language.file, directory / f"{name.lower()}.wasm"
    source.write_text(language.text)
    words = language.command(source, target)
    if not words:
        pytest.skip(f"not run: there is no tool chain for {name}")
    environment = {**os.environ, "GOOS": "wasip1", "GOARCH": "wasm", "CGO_ENABLED": "0"}
    try:
        subprocess.run(words, cwd=directory, env=environment, capture_output=True, timeout=_BUILD_SECONDS, check=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"not run: {name} does not build: {error.stderr.decode(errors='replace').strip()[-300:]}")
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"not run: {name} does not build: {error}")
    return target


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=feature(f"a program of {name}")) for name in LANGUAGES], ids=list(LANGUAGES)
)
def test_a_program_of_another_language_runs(run: Runner, name: str) -> None:
    module = build(name, run.directory).read_bytes()
    (run.directory / "work").mkdir()
    flags = ("--interactive", "--env", "GREETING=hello", "--volume", f"{run.directory / 'work'}:/work")
    said = b"argument: two words\nvariable: hello\ninput: a line\nfile: 42\nentry: moved\n"
    assert run(module, "two words", flags=flags, stdin=b"a line\n") == Ended(42, said, "to stderr\n")
