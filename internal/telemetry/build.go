package telemetry

import "runtime/debug"

// Build says what is running.
type Build struct {
	Version  string // the module's version, or "(devel)"
	Revision string // the commit; a tree with changes ends in "+changes"
	Go       string
}

// ReadBuild reads what the compiler recorded.
func ReadBuild() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Build{Version: "unknown", Revision: "unknown", Go: "unknown"}
	}
	return buildOf(info)
}

func buildOf(info *debug.BuildInfo) Build {
	b := Build{Version: info.Main.Version, Revision: "unknown", Go: info.GoVersion}
	changed := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	b.Revision += changed
	if b.Version == "" {
		b.Version = "(devel)"
	}
	return b
}
