package e2e

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// docs/flow.md names files and functions; a reader who follows it finds them.
func TestTheFlowIsTrueToTheCode(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/flow.md")
	if err != nil {
		t.Fatal(err)
	}
	root := os.DirFS("../..")
	files, folders, funcs := map[string]bool{}, map[string]bool{}, map[string]bool{}
	declared := regexp.MustCompile(`(?m)^(?:func (?:\([^)]*\) )?|\t)([A-Za-z]+)\(`) // or a method of an interface
	for _, room := range []string{"internal", "cmd"} {
		err := fs.WalkDir(root, room, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				folders[name] = true
				return err
			}
			if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
				files[name], files[path.Base(name)] = true, true
				raw, err := fs.ReadFile(root, name)
				for _, m := range declared.FindAllSubmatch(raw, -1) {
					funcs[string(m[1])] = true
				}
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	page = regexp.MustCompile("(?s)```.*?```").ReplaceAll(page, nil)
	name := regexp.MustCompile(`^([A-Za-z]+\.)?[A-Za-z]+$`)
	named := 0
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllSubmatch(page, -1) {
		switch word := string(m[1]); {
		case strings.HasSuffix(word, ".go"):
			if !files[word] {
				t.Errorf("there is no file %s", word)
			}
		case strings.HasPrefix(word, "internal/"), word == "cmd":
			if !folders[word] {
				t.Errorf("there is no folder %s", word)
			}
		case name.MatchString(word):
			named++
			if !funcs[word[strings.LastIndexByte(word, '.')+1:]] {
				t.Errorf("there is no function %s", word)
			}
		}
	}
	if lines := strings.Count(string(page), "\n"); named < 60 || lines > 150 {
		t.Errorf("the page names %d functions in %d lines", named, lines)
	}
}
