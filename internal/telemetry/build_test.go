package telemetry

import (
	"runtime/debug"
	"testing"
)

func TestBuildSaysWhetherTheTreeHadChanges(t *testing.T) {
	t.Parallel()
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"},
	}}
	want := Build{Version: "(devel)", Revision: "abc+changes", Go: "go1.26.8"}
	if got := buildOf(info); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := buildOf(&debug.BuildInfo{}); got.Revision != "unknown" {
		t.Errorf("a build without a revision: %+v", got)
	}
}
