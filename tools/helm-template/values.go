// The values that templates see: those of the chart, of files and of --set, later ones over earlier ones.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

func valuesOf(chart string, files, sets []string) (Map, error) {
	values, err := readYaml(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		more, err := readYaml(file)
		if err != nil {
			return nil, err
		}
		values = merged(values, more)
	}
	for _, set := range sets {
		more, err := assignment(set)
		if err != nil {
			return nil, err
		}
		values = merged(values, more)
	}
	return values, nil
}

func readYaml(path string) (Map, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	values := Map{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return values, nil
}

// merged lays the second map over the first: maps join, all else replaces, and null takes a key away.
func merged(under, over Map) Map {
	result := Map{}
	for key, value := range under {
		result[key] = value
	}
	for key, value := range over {
		below, isMapBelow := result[key].(Map)
		above, isMap := value.(Map)
		switch {
		case value == nil:
			delete(result, key)
		case isMap && isMapBelow:
			result[key] = merged(below, above)
		default:
			result[key] = value
		}
	}
	return result
}

// assignment makes a map of "a.b=c"; {x,y} is a list.
func assignment(text string) (Map, error) {
	path, written, found := strings.Cut(text, "=")
	if !found || path == "" {
		return nil, fmt.Errorf("--set %s: expected a.b=VALUE", text)
	}
	value, err := typed(written)
	if err != nil {
		return nil, fmt.Errorf("--set %s: %w", text, err)
	}
	keys := strings.Split(path, ".")
	for at := len(keys) - 1; at >= 0; at-- {
		value = Map{keys[at]: value}
	}
	return value.(Map), nil
}

// typed takes 5 for a number and true for a truth, as YAML does.
func typed(text string) (interface{}, error) {
	if strings.HasPrefix(text, "{") && strings.HasSuffix(text, "}") {
		list := []interface{}{}
		for _, each := range strings.Split(text[1:len(text)-1], ",") {
			value, err := typed(each)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	}
	if text == "" {
		return "", nil
	}
	var value interface{}
	err := yaml.Unmarshal([]byte(text), &value)
	return value, err
}
