package config

import (
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const prefix = "TAILMARKET_"

// field is one setting, found by walking Config.
type field struct {
	env     string // TAILMARKET_AWS_QUEUE_URL
	key     string // aws.queue_url
	accepts string
	initial string
	show    string // "url": a secret of which Print may show more than nothing
	index   []int
}

var (
	secretType   = reflect.TypeFor[Secret]()
	sizeType     = reflect.TypeFor[Size]()
	durationType = reflect.TypeFor[time.Duration]()
	levelType    = reflect.TypeFor[slog.Level]()

	fields   = walk(reflect.TypeFor[Config](), nil, "", "")
	defaults = initial()
)

func walk(t reflect.Type, index []int, env, key string) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		at := append(append([]int(nil), index...), i)
		name := snake(f.Name)
		if f.Type.Kind() == reflect.Struct && f.Type != secretType {
			out = append(out, walk(f.Type, at, env+strings.ToUpper(name)+"_", key+name+".")...)
			continue
		}
		out = append(out, field{
			env: prefix + env + strings.ToUpper(name), key: key + name, index: at,
			accepts: f.Tag.Get("accepts"), initial: f.Tag.Get("default"), show: f.Tag.Get("show"),
		})
	}
	return out
}

// snake turns a field name into words: QueueURL is queue_url, AccessKeyID is
// access_key_id.
func snake(name string) string {
	var b strings.Builder
	r := []rune(name)
	for i, c := range r {
		startsWord := i > 0 && unicode.IsUpper(c) &&
			(unicode.IsLower(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1]))
		if startsWord {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

func initial() Config {
	var c Config
	for _, f := range fields {
		if f.initial == "" {
			continue
		}
		if err := f.set(&c, f.initial); err != nil {
			panic("config: default of " + f.env + ": " + err.Error()) // a programmer's error, met by every test
		}
	}
	return c
}

func (f field) value(c *Config) reflect.Value { return reflect.ValueOf(c).Elem().FieldByIndex(f.index) }

func (f field) secret() bool {
	return reflect.TypeFor[Config]().FieldByIndex(f.index).Type == secretType
}

// set reads text into the field of c. Every type a setting can have is here.
func (f field) set(c *Config, text string) error {
	v := f.value(c)
	switch v.Type() {
	case secretType:
		v.Set(reflect.ValueOf(NewSecret(text)))
		return nil
	case sizeType:
		n, err := ParseSize(text)
		v.SetInt(int64(n))
		return err
	case durationType:
		d, err := time.ParseDuration(text)
		v.SetInt(int64(d))
		return err
	case levelType:
		var l slog.Level
		err := l.UnmarshalText([]byte(text))
		v.SetInt(int64(l))
		return err
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		v.SetBool(b)
		return err
	case reflect.Int:
		n, err := strconv.Atoi(text)
		v.SetInt(int64(n))
		return err
	}
	return fmt.Errorf("settings of type %s are not supported", v.Type())
}
