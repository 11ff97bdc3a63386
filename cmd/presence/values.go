package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A setting's value is text until it is set: in the file, in the environment
// and as a flag it reads the same, with its unit in it. The kinds are those of
// the pointers that setValue knows.

// size is a number of bytes, written with a unit: 512B, 64KiB, 4MiB, 1GiB.
type size int

// rate is a number of requests in a time, written "30/5s"; the zero rate,
// written "0", is no limit.
type rate struct {
	burst int
	per   time.Duration
}

// kind names the kind of a value in help texts and on the reference page.
func kind(to any) string {
	switch to.(type) {
	case *bool:
		return "switch"
	case *int:
		return "number"
	case *size:
		return "size"
	case *rate:
		return "rate"
	case *time.Duration:
		return "time"
	case *[]string:
		return "list"
	case *string:
		return "text"
	}
	panic(fmt.Sprintf("no kind for %T", to)) // a setting that this file does not know
}

// setValue parses raw, which is text or what the YAML parser made of it, into
// the value behind the pointer. The error is the end of a sentence that began
// with the setting's name; it quotes the value.
func setValue(to, raw any) (err error) {
	if list, ok := to.(*[]string); ok {
		*list, err = parseList(raw)
		return err
	}
	switch raw.(type) {
	case string, bool, int, int64, uint64, float64:
	default:
		return fmt.Errorf("is not one value; want a %s", kind(to))
	}
	text := strings.TrimSpace(fmt.Sprint(raw))
	switch to := to.(type) {
	case *string:
		*to = text
	case *bool:
		*to, err = parseBool(text)
	case *int:
		*to, err = parseCount(text)
	case *size:
		*to, err = parseSize(text)
	case *rate:
		*to, err = parseRate(text)
	case *time.Duration:
		*to, err = parseTime(text)
	}
	return err
}

// formatValue is the inverse of setValue: the text that gives the same value.
func formatValue(from any) string {
	switch v := from.(type) {
	case *time.Duration:
		return formatTime(*v)
	case *[]string:
		return strings.Join(*v, ",")
	case *string:
		return *v
	case *bool:
		return strconv.FormatBool(*v)
	case *int:
		return strconv.Itoa(*v)
	case *size:
		return v.String()
	case *rate:
		return v.String()
	}
	panic(fmt.Sprintf("no text for %T", from))
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", s)
}

func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no whole number of at least 0", s)
	}
	return n, nil
}

func parseTime(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err == nil && d >= 0:
		return d, nil
	case err == nil:
		return 0, fmt.Errorf("%q is negative", s)
	case isNumber(s):
		return 0, fmt.Errorf("%q has no unit; want such as 500ms, 10s or 2m", s)
	}
	return 0, fmt.Errorf("%q is no time; want such as 500ms, 10s or 2m", s)
}

// formatTime leaves out the zero parts that Duration.String shows: 2m, not
// 2m0s.
func formatTime(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// sizeUnits are tried in this order when a size is written.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

func parseSize(s string) (size, error) {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		digits = strings.TrimSpace(digits)
		if !isNumber(digits) {
			break // 64KB ends in B, too
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > math.MaxInt32/u.bytes {
			return 0, fmt.Errorf("%q is no size from 0B to %s", s, size(math.MaxInt32))
		}
		return size(n * u.bytes), nil
	}
	if s == "0" {
		return 0, nil
	}
	if isNumber(s) {
		return 0, fmt.Errorf("%q has no unit; want such as 512B, 64KiB or 4MiB", s)
	}
	return 0, fmt.Errorf("%q is no size; want such as 512B, 64KiB or 4MiB", s)
}

func (s size) String() string {
	for _, u := range sizeUnits {
		if n := int64(s); n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

func parseRate(s string) (rate, error) {
	if s == "0" {
		return rate{}, nil
	}
	burst, per, ok := strings.Cut(s, "/")
	if !ok {
		return rate{}, fmt.Errorf("%q is no rate; want such as 30/5s, or 0 for none", s)
	}
	n, err := parseCount(burst)
	if err != nil || n == 0 {
		return rate{}, fmt.Errorf("%q: %q is no number of requests; want such as 30/5s", s, burst)
	}
	d, err := parseTime(per)
	if err != nil || d <= 0 {
		return rate{}, fmt.Errorf("%q: %q is no time; want such as 30/5s", s, per)
	}
	return rate{n, d}, nil
}

func (r rate) String() string {
	if r.burst == 0 {
		return "0"
	}
	return fmt.Sprintf("%d/%s", r.burst, formatTime(r.per))
}

// parseList takes a YAML list, or text with commas.
func parseList(raw any) ([]string, error) {
	var list []string
	switch raw := raw.(type) {
	case []any:
		for _, v := range raw {
			s, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("has an entry that is no text; put it in quotes")
			}
			list = append(list, strings.TrimSpace(s))
		}
	case string:
		for s := range strings.SplitSeq(raw, ",") {
			if s = strings.TrimSpace(s); s != "" {
				list = append(list, s)
			}
		}
	default:
		return nil, fmt.Errorf("is no list")
	}
	return list, nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}
