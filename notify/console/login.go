package console

import (
	"errors"
	"net/http"

	"github.com/bellbuoy/bellbuoy/notify/access"
)

func (c *Console) addLogin() {
	c.mux.Handle("GET "+access.LoginPath, c.public(showLogin))
	c.mux.Handle("POST "+access.LoginPath, c.public(logIn))
	c.mux.Handle("GET "+access.OncePath, c.public(logInOnce))
	c.mux.Handle("POST /logout", c.public(logOut))
}

// public returns a handler that needs no account.
func (c *Console) public(show func(*pageRequest)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		show(&pageRequest{Request: r, w: w, c: c, by: access.PrincipalOf(r.Context())})
	})
}

type loginPage struct {
	Users      bool // somebody can log in with a password
	User, Next string
	Problem    string
}

func showLogin(v *pageRequest) { v.showLogin(http.StatusOK, loginPage{}) }

func (v *pageRequest) showLogin(status int, p loginPage) {
	p.Users, p.Next = v.c.Logins.HasUsers(), access.Next(v.Request)
	v.render(status, "login", pageData{Title: "Log in", Bare: true, Body: p})
}

func logIn(v *pageRequest) {
	name := v.PostFormValue("user")
	if err := v.c.Logins.LogIn(v.w, v.Request, name, v.PostFormValue("password")); err != nil {
		v.showLogin(access.StatusOf(err), loginPage{User: name, Problem: sentence(err.Error())})
		return
	}
	v.redirect(access.Next(v.Request), nil)
}

func logInOnce(v *pageRequest) {
	err := v.c.Logins.LogInOnce(v.w, v.Request, v.URL.Query().Get("ticket"))
	if err != nil {
		v.showLogin(access.StatusOf(err), loginPage{Problem: sentence(err.Error())})
		return
	}
	v.redirect(access.Next(v.Request), nil)
}

func logOut(v *pageRequest) {
	if err := v.c.Logins.LogOut(v.w, v.Request); err != nil {
		v.c.fail(v, http.StatusServiceUnavailable, errors.New("logging out: "+err.Error()))
		return
	}
	v.redirect(access.LoginPath, nil)
}
