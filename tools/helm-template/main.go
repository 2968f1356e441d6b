// Renders a Helm chart as `helm template` does, as far as the chart of deploy/helm/weir uses it: for machines without helm.
//
//	helm-template [--namespace NS] [--name RELEASE] [--kube-version V] [-f FILE]... [--set a.b=VALUE]... CHART
//
// The templates run on Go's own text/template with sprig, as in Helm. Not there: dependencies, lookup, .Files and tpl; hooks are
// rendered with the rest, and so is NOTES.txt with --notes.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"gopkg.in/yaml.v3"
)

// Repeated collects an option that may come several times.
type Repeated []string

func (list *Repeated) String() string { return strings.Join(*list, ",") }
func (list *Repeated) Set(text string) error {
	*list = append(*list, text)
	return nil
}

type Map = map[string]interface{}

func main() {
	var files, sets Repeated
	namespace := flag.String("namespace", "default", "namespace of the release")
	name := flag.String("name", "weir", "name of the release")
	version := flag.String("kube-version", "v1.31.0", "version of the cluster")
	notes := flag.Bool("notes", false, "render only NOTES.txt")
	flag.Var(&files, "f", "file of values; may come again")
	flag.Var(&sets, "set", "one value, as in a.b=c; may come again")
	flag.Parse()
	if flag.NArg() != 1 {
		fatal(errors.New("expected one chart: helm-template [options] CHART"))
	}
	release := Map{"Name": *name, "Namespace": *namespace, "Service": "Helm", "IsInstall": true, "IsUpgrade": false, "Revision": 1}
	text, err := render(flag.Arg(0), *notes, release, *version, files, sets)
	if err != nil {
		fatal(err)
	}
	os.Stdout.WriteString(text)
}

func fatal(err error) {
	fmt.Fprintf(os.Stderr, "helm-template: %v\n", err)
	os.Exit(1)
}

func render(chart string, notes bool, release Map, version string, files, sets []string) (string, error) {
	values, err := valuesOf(chart, files, sets)
	if err != nil {
		return "", err
	}
	about, err := readYaml(filepath.Join(chart, "Chart.yaml"))
	if err != nil {
		return "", err
	}
	templates, err := parse(chart)
	if err != nil {
		return "", err
	}
	data := Map{
		"Values":  values,
		"Release": release,
		"Chart":   chartOf(about),
		"Capabilities": Map{
			"KubeVersion": Map{"Version": version, "GitVersion": version},
		},
	}
	var out strings.Builder
	for _, path := range pathsOf(templates) {
		if strings.HasSuffix(path, ".tpl") || notes != strings.HasSuffix(path, "NOTES.txt") {
			continue
		}
		data["Template"] = Map{"Name": path, "BasePath": "templates"}
		var text bytes.Buffer
		if err := templates.ExecuteTemplate(&text, path, data); err != nil {
			return "", err
		}
		// A value that is nowhere is printed so where nothing is done with it; Helm leaves it out.
		body := strings.TrimSpace(strings.ReplaceAll(text.String(), "<no value>", ""))
		if body == "" {
			continue
		}
		if notes {
			return body + "\n", nil
		}
		fmt.Fprintf(&out, "---\n# Source: %s/%s\n%s\n", about["name"], path, strings.TrimPrefix(body, "---\n"))
	}
	return out.String(), nil
}

// chartOf has the keys as templates spell them: appVersion is .Chart.AppVersion.
func chartOf(about Map) Map {
	chart := Map{}
	for key, value := range about {
		chart[strings.ToUpper(key[:1])+key[1:]] = value
	}
	return chart
}

func pathsOf(templates *template.Template) []string {
	var paths []string
	for _, each := range templates.Templates() {
		if strings.HasPrefix(each.Name(), "templates/") {
			paths = append(paths, each.Name())
		}
	}
	sort.Strings(paths)
	return paths
}

func parse(chart string) (*template.Template, error) {
	root := template.New("chart").Option("missingkey=default")
	functions := sprig.TxtFuncMap()
	// As in Helm, templates cannot read the environment.
	delete(functions, "env")
	delete(functions, "expandenv")
	functions["toYaml"] = toYaml
	functions["include"] = func(name string, data interface{}) (string, error) {
		var text strings.Builder
		err := root.ExecuteTemplate(&text, name, data)
		return text.String(), err
	}
	functions["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, errors.New(message)
		}
		return value, nil
	}
	root.Funcs(functions)
	paths, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if _, err := root.New("templates/" + filepath.Base(path)).Parse(string(text)); err != nil {
			return nil, err
		}
	}
	return root, nil
}

func toYaml(value interface{}) (string, error) {
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(value); err != nil {
		return "", err
	}
	return strings.TrimSuffix(text.String(), "\n"), nil
}
