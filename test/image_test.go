package test

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// instruction is one instruction of a Dockerfile, with its continuation lines joined.
type instruction struct{ name, args string }

// stages parses a Dockerfile into its stages.
func stages(content string) [][]instruction {
	var out [][]instruction
	for line := range strings.SplitSeq(strings.ReplaceAll(content, "\\\n", " "), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, args, _ := strings.Cut(line, " ")
		if name == "FROM" {
			out = append(out, nil)
		}
		last := len(out) - 1
		out[last] = append(out[last], instruction{name, strings.TrimSpace(args)})
	}
	return out
}

func TestDockerfile(t *testing.T) {
	content, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	all := stages(string(content))
	if len(all) != 2 {
		t.Fatalf("%d stages, want 2: one that builds and the image", len(all))
	}
	final := all[1]
	for _, want := range []instruction{
		{"USER", "65532:65532"},
		{"VOLUME", "/data"},
		{"ENV", "STATE_DIRECTORY=/data"}, // makes data_dir the volume
		{"EXPOSE", "5080 5081"},
		{"ENTRYPOINT", `["/bellbuoy"]`},
		{"CMD", `["serve"]`},
	} {
		if !slices.Contains(final, want) {
			t.Errorf("the image lacks %s %s", want.name, want.args)
		}
	}
	if from := final[0].args; from != "scratch" {
		t.Errorf("the image is from %s, want scratch", from)
	}
	copiesExist(t, all[0], final)
}

// copiesExist checks that the build makes the files that the image copies from it, and that the
// data directory belongs to the image's user.
func copiesExist(t *testing.T, build, final []instruction) {
	t.Helper()
	var made string
	for _, i := range build {
		if i.name == "RUN" {
			made += i.args + " "
		}
	}
	owned := false
	for _, i := range final {
		fields := strings.Fields(i.args)
		if i.name != "COPY" {
			continue
		}
		if from := fields[len(fields)-2]; !strings.Contains(made, path.Clean(from)) && !strings.Contains(made, path.Dir(from)+"/ ") {
			t.Errorf("COPY of %s, which the build does not make", from)
		}
		owned = owned || fields[len(fields)-1] == "/data" && strings.Contains(i.args, "--chown=65532:65532")
	}
	if !owned {
		t.Error("/data does not belong to the image's user")
	}
}
