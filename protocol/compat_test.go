package protocol

import "testing"

func TestThePathSaysWhichAcknowledgementAClientWants(t *testing.T) {
	for _, test := range []struct {
		path string
		want Style
		ok   bool
	}{
		{"/core", StyleDefault, true},
		{"/core/", StyleDefault, true},
		{"/core/v1", StyleText, true},
		{"/core/v1/", StyleText, true},
		{"/", 0, false},
		{"", 0, false},
		{"/corev1", 0, false},
		{"/core/v2", 0, false},
		{"/core//", 0, false},
		{"/core/v1/x", 0, false},
		{"/Core", 0, false},
	} {
		if got, ok := StyleOfPath(test.path); got != test.want || ok != test.ok {
			t.Errorf("StyleOfPath(%q): %d, %t; want %d, %t", test.path, got, ok, test.want, test.ok)
		}
	}
}

func TestTheAppsStyleCountsWhereThePathLeavesItOpen(t *testing.T) {
	for _, test := range []struct{ path, app, want Style }{
		{StyleDefault, StyleDefault, StyleObject},
		{StyleDefault, StyleText, StyleText},
		{StyleDefault, StyleObject, StyleObject},
		{StyleText, StyleObject, StyleText},
		{StyleObject, StyleText, StyleObject},
	} {
		if got := test.path.Or(test.app); got != test.want {
			t.Errorf("Style %d, app's %d: %d, want %d", test.path, test.app, got, test.want)
		}
	}
	for word, want := range map[string]Style{"": StyleDefault, "object": StyleObject, "text": StyleText} {
		if got, ok := ParseStyle(word); got != want || !ok {
			t.Errorf("ParseStyle(%q): %d, %t; want %d", word, got, ok, want)
		}
	}
	if _, ok := ParseStyle("Object"); ok {
		t.Error("ParseStyle took a word that it does not know")
	}
}
