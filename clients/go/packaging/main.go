// Packaging makes what a module proxy serves of the modules of this client:
//
//	go run . VERSION OUT MODULE-FOLDER...
//
// OUT is then a GOPROXY. It fails for a module that requires another version of the client.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const client = "larder.test/clients/go"

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: packaging VERSION OUT MODULE-FOLDER...")
		os.Exit(2)
	}
	for _, folder := range os.Args[3:] {
		if err := pack(os.Args[1], os.Args[2], folder); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", folder, err)
			os.Exit(1)
		}
	}
}

func pack(version, out, folder string) error {
	text, err := os.ReadFile(filepath.Join(folder, "go.mod"))
	if err != nil {
		return err
	}
	file, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		return err
	}
	for _, each := range file.Require {
		if each.Mod.Path == client && each.Mod.Version != version {
			return fmt.Errorf("requires %s %s, not %s", client, each.Mod.Version, version)
		}
	}
	made := module.Version{Path: file.Module.Mod.Path, Version: version}
	escaped, err := module.EscapePath(made.Path)
	if err != nil {
		return err
	}
	directory := filepath.Join(out, escaped, "@v")
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Unix(0, 0).UTC()})
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"list": []byte(version + "\n"), version + ".info": info, version + ".mod": text,
	} {
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o644); err != nil {
			return err
		}
	}
	archive, err := os.Create(filepath.Join(directory, version+".zip"))
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }()
	// It leaves the modules within this one out, and refuses what a proxy would refuse.
	if err := zip.CreateFromDir(archive, made, folder); err != nil {
		return err
	}
	size, err := archive.Seek(0, 1)
	if err != nil {
		return err
	}
	fmt.Printf("%s %s: %d KiB\n", strings.TrimPrefix(made.Path, client+"/"), version, size>>10)
	return archive.Close()
}
