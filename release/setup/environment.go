package setup

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/flatcar/oem-sysext/oem/host/near"
	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Read returns the options in an environment. The error names every variable with a wrong value. Unknown variables that
// look like a misspelt one of ours are logged as warnings.
func Read(checkout string, environ []string) (Options, error) {
	display := progress.New(os.Stderr)
	variables := env.ToMap(environ)
	o := Options{Checkout: checkout, Progress: display, Log: display.Logger(slog.LevelInfo), environment: variables}
	// Empty variables count as unset.
	given := map[string]string{}
	for name, value := range variables {
		if value != "" {
			given[name] = value
		}
	}
	err := env.ParseWithOptions(&o, env.Options{
		Environment: given,
		FuncMap:     map[reflect.Type]env.ParserFunc{reflect.TypeFor[size.Bytes](): func(v string) (any, error) { return size.Parse(v) }},
	})
	if err != nil {
		return o, mistakes(err, given)
	}
	if o.Jobs == 0 {
		o.Jobs = Count(runtime.NumCPU())
	}
	for name, ours := range nearNames(variables) {
		o.Log.Warn("unknown variable", "name", name, "did you mean", ours)
	}
	return o, nil
}

// mistakes turns the library's error into one that names the variables.
func mistakes(err error, given map[string]string) error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return err
	}
	var named []error
	for _, e := range all.Errors {
		var wrong env.ParseError
		if !errors.As(e, &wrong) {
			named = append(named, e)
			continue
		}
		variable := variableOf(wrong.Name)
		cause := wrong.Err
		if syntax := (*strconv.NumError)(nil); errors.As(cause, &syntax) {
			cause = fmt.Errorf("wanted %s", map[string]string{"ParseBool": "1 or 0"}[syntax.Func]+map[string]string{"ParseInt": "a number"}[syntax.Func])
		}
		named = append(named, fmt.Errorf("%s=%s; %w", variable, given[variable], cause))
	}
	return errors.Join(named...)
}

// variableOf returns the variable that a field of Options is read from.
func variableOf(field string) string {
	for _, s := range Settings() {
		if s.field == field {
			return s.Name
		}
	}
	return field
}

// Setting is one variable of the environment.
type Setting struct {
	Name, Meaning, Default string
	field                  string
	literal                bool // Default is a value, not a description
}

// Settings lists all variables that are read, in the order of Options.
func Settings() []Setting { return settingsOf(reflect.TypeFor[Options]()) }

func settingsOf(t reflect.Type) []Setting {
	var all []Setting
	for i := range t.NumField() {
		field := t.Field(i)
		name, set := field.Tag.Lookup("env")
		switch {
		case set:
			s := Setting{Name: name, Meaning: field.Tag.Get("doc"), Default: field.Tag.Get("default"), field: field.Name}
			if value, literal := field.Tag.Lookup("envDefault"); literal {
				s.Default, s.literal = value, true
			}
			all = append(all, s)
		case field.Type.Kind() == reflect.Struct && field.Type.PkgPath() == t.PkgPath():
			all = append(all, settingsOf(field.Type)...)
		}
	}
	return all
}

// nearNames returns the variables that look like misspelt ones of ours, with the right spelling.
// GitHub's runners set many of their own.
func nearNames(environment map[string]string) map[string]string {
	found := map[string]string{}
	settings := Settings()
	for name := range environment {
		known := slices.ContainsFunc(settings, func(s Setting) bool { return s.Name == name })
		if known || len(name) < 5 || strings.HasPrefix(name, "GITHUB_") {
			continue
		}
		for _, s := range settings {
			if len(s.Name) >= 5 && near.Distance(name, s.Name) == 1 {
				found[name] = s.Name
			}
		}
	}
	return found
}

// Count is a whole number from 1 on.
type Count int

// UnmarshalText refuses everything but whole numbers from 1 on.
func (c *Count) UnmarshalText(text []byte) error {
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 1 {
		return errors.New("wanted a number from 1 on")
	}
	*c = Count(n)
	return nil
}

// Epoch is a time in seconds since 1970.
type Epoch time.Time

// UnmarshalText reads seconds.
func (e *Epoch) UnmarshalText(text []byte) error {
	seconds, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || seconds < 0 {
		return errors.New("wanted seconds since 1970")
	}
	*e = Epoch(time.Unix(seconds, 0).UTC())
	return nil
}

// Words is a list separated by blanks.
type Words []string

// UnmarshalText splits at blanks.
func (w *Words) UnmarshalText(text []byte) error {
	*w = strings.Fields(string(text))
	return nil
}
