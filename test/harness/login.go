package harness

import "net/http"

// Users of registries and ChartMuseums that ask for a login.
var Users = map[string]string{"ann": "pw"}

// A Login is who a client says it is. The zero value is nobody.
type Login struct{ User, Password string }

// Flags are the arguments that tell a client its login: the flags of user and password are in more.
func (l Login) Flags(name string, more ...string) []string {
	switch {
	case l.User == "":
		return nil
	case name == "skopeo":
		return []string{more[0], l.User + ":" + l.Password}
	}
	return []string{more[0], l.User, more[1], l.Password}
}

// Header is the login as header arguments of a request.
func (l Login) Header() []string {
	if l.User == "" {
		return nil
	}
	r, _ := http.NewRequest(http.MethodGet, "http://x", nil)
	r.SetBasicAuth(l.User, l.Password)
	return []string{"Authorization", r.Header.Get("Authorization")}
}
