package harness

import "net/http"

// Users has the user and password of registries and ChartMuseums that require a login.
var Users = map[string]string{"ann": "pw"}

// A Login is the user and password of a client. The zero value is no login.
type Login struct{ User, Password string }

// Flags returns the arguments that give a client its login. more has the names of the flags of user
// and password.
func (l Login) Flags(name string, more ...string) []string {
	switch {
	case l.User == "":
		return nil
	case name == "skopeo":
		return []string{more[0], l.User + ":" + l.Password}
	}
	return []string{more[0], l.User, more[1], l.Password}
}

// Header returns the login as header arguments of a request.
func (l Login) Header() []string {
	if l.User == "" {
		return nil
	}
	r, _ := http.NewRequest(http.MethodGet, "http://x", nil)
	r.SetBasicAuth(l.User, l.Password)
	return []string{"Authorization", r.Header.Get("Authorization")}
}
