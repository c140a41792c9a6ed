package larder

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// CallKeys makes the keys of the calls of one function, equal for equal calls in all languages:
// clients/README.md, "Keys of function calls".
type CallKeys struct {
	name     string
	args     []string
	defaults map[string]any
	ignored  []string
	// literals are texts, and fields the arguments between them. No fields: the key is the name.
	literals []string
	fields   []string
}

// CallKeyOptions are how calls of a function are named.
type CallKeyOptions struct {
	// Name of the function, which is the key unless there is a template.
	Name string
	// Template is the key, with arguments in braces, such as `user:{id}`. `{{` and `}}` stand for
	// braces. Arguments that it names are not params.
	Template string
	// Args are the names of the arguments, in their order.
	Args []string
	// Defaults are values of arguments that are left out, by name.
	Defaults map[string]any
	// Ignore names arguments that are not part of the key.
	Ignore []string
}

// CallKey is the entry of a call, for Get(ctx, key.Key, key.Params) and the like.
type CallKey struct {
	Key    string
	Params Params
}

var (
	templateField = regexp.MustCompile(`\{\{|\}\}|\{[^{}]*\}|[{}]`)
	// looksTyped is text of values that are no text: an equal text must not share their key.
	looksTyped = regexp.MustCompile(
		`(?s)^(?:null|true|false|-?\d+(?:\.\d+)?e[+-]?\d+|-?\d+\.\d+|[\[{].*)$`)
)

// NewCallKeys checks the options.
func NewCallKeys(options CallKeyOptions) (*CallKeys, error) {
	k := &CallKeys{
		name: options.Name, args: options.Args, defaults: options.Defaults,
		ignored: options.Ignore,
	}
	for name := range options.Defaults {
		if !slices.Contains(options.Args, name) {
			return nil, wrong("Defaults", "%s is not an argument", name)
		}
	}
	for _, name := range options.Ignore {
		if !slices.Contains(options.Args, name) {
			return nil, wrong("Ignore", "%s is not an argument", name)
		}
	}
	if options.Template == "" {
		if options.Name == "" {
			return nil, wrong("Name", "a name or a template is needed")
		}
		return k, nil
	}
	return k, k.parse(options.Template)
}

func (k *CallKeys) parse(template string) error {
	literal, position := "", 0
	for _, found := range templateField.FindAllStringIndex(template, -1) {
		literal += template[position:found[0]]
		position = found[1]
		switch field := template[found[0]:found[1]]; field {
		case "{{", "}}":
			literal += field[:1]
		case "{", "}":
			return wrong("Template", "%q has a brace without its other", template)
		default:
			name := field[1 : len(field)-1]
			if !slices.Contains(k.args, name) {
				return wrong("Template", "%q has the field %s, which is not an argument", template,
					field)
			}
			k.literals, k.fields = append(k.literals, literal), append(k.fields, name)
			literal = ""
		}
	}
	k.literals = append(k.literals, literal+template[position:])
	return nil
}

// Key is the entry of a call with these arguments, in their order; the last may be left out if they
// have defaults. The error is a [*KeyError] that names the argument, if one cannot be part of a
// key.
func (k *CallKeys) Key(args ...any) (CallKey, error) {
	if len(args) > len(k.args) {
		return CallKey{}, wrong("args", "expected %d of %s, got %d", len(k.args), k.name,
			len(args))
	}
	named := make(map[string]any, len(k.args))
	for name, value := range k.defaults {
		named[name] = value
	}
	for i, value := range args {
		named[k.args[i]] = value
	}
	for _, name := range k.args {
		if _, given := named[name]; !given {
			return CallKey{}, wrong("args", "%s is missing, and has no default", name)
		}
	}
	key, unclear, err := k.render(named)
	if err != nil {
		return CallKey{}, err
	}
	params := Params{}
	for _, name := range k.args {
		shown := slices.Contains(k.fields, name) && !unclear[name]
		if shown || slices.Contains(k.ignored, name) {
			continue
		}
		if params[name], err = Canonical(named[name], name); err != nil {
			return CallKey{}, err
		}
	}
	return CallKey{Key: key, Params: params}, nil
}

// scalarText is the text of an instant or a UUID, which a key shows without its tag.
func scalarText(value any, form string) (string, bool) {
	if _, own := value.(Keyer); own {
		return "", false
	}
	for _, tag := range []string{"$datetime", "$uuid"} {
		if text, ok := strings.CutPrefix(form, `{"`+tag+`":"`); ok {
			return strings.TrimSuffix(text, `"}`), true
		}
	}
	return "", false
}

// render is the key, and the arguments that it does not show clearly.
func (k *CallKeys) render(named map[string]any) (string, map[string]bool, error) {
	if k.literals == nil {
		return k.name, nil, nil
	}
	inner := k.literals[1:max(1, len(k.literals)-1)]
	separators := strings.Join(inner, "")
	unclear := map[string]bool{}
	var key strings.Builder
	key.WriteString(k.literals[0])
	for i, name := range k.fields {
		form, err := Canonical(named[name], name)
		if err != nil {
			return "", nil, err
		}
		shown, clear := form, true
		if text, ok := scalarText(named[name], form); ok {
			shown, clear = text, false
		} else if strings.HasPrefix(form, `"`) {
			if err := json.Unmarshal([]byte(form), &shown); err != nil {
				return "", nil, err
			}
			clear = !looksTyped.MatchString(shown)
		}
		// `a:b` is the text of two pairs for `{x}:{y}`, if values may have a colon.
		split := len(inner) > 0 &&
			(slices.Contains(inner, "") || strings.ContainsAny(shown, separators))
		if !clear || split {
			unclear[name] = true
		}
		key.WriteString(shown)
		key.WriteString(k.literals[i+1])
	}
	return key.String(), unclear, nil
}
