// Package access finds the account of each request of the admin address, and says what the account
// may do.
//
// A [Door] wraps every handler of the admin address. It refuses foreign Hosts (DNS rebinding) and
// foreign Origins (requests by pages of other sites). It finds the account of a request by the
// Authorization header (a user's password, or a token), or else by the session in the cookie.
// Failed logins are limited for each client; requests with a session are not. Handlers get the
// account from [PrincipalOf]; the zero [Principal] may do nothing.
//
// The configuration lists the accounts. Configure replaces them at each reload. A long request,
// such as a stream of events, ends when its account changes, and within sessionCheck after its
// session has ended.
//
// # Sessions
//
// [Door.LogIn] begins a session of a user, [Door.LogInOnce] one of an administrator who has an
// address of `bellbuoy console`, and [Door.LogOut] ends one. Each login begins a new session and
// ends the one that the request had. A session ends 12 hours after its last request, 7 days after
// its login, at logout, and when its user is changed or removed in the configuration. The store
// holds it under a hash of the cookie's secret, so that it works on each replica and after a
// restart.
//
// A request that changes something (any method but GET, HEAD and OPTIONS) and relies on a session
// needs an Origin, and a form token: the value of [FormToken] in the form field [FormField] (of an
// application/x-www-form-urlencoded body) or in the header [FormHeader]. Without them it is refused
// with 403. A page with forms must not set `Referrer-Policy: no-referrer`, because browsers then
// send `Origin: null`.
//
// # What pages need
//
// Paths in Options.Public need no account: the login page, its address for one login, and what the
// login page shows. If one of them is [LoginPath], a browser that asks for a page without a session
// is sent there; [Next] is then the path to which a login leads. Other requests without an account
// are answered with 401. The handlers of pages:
//
//	GET  /login       a form of User and Password; Next(r) in a hidden field "next"
//	POST /login       LogIn; nil: redirect (303) to Next(r), else the form with StatusOf(err)
//	GET  /login/once  LogInOnce with the query's "ticket"; nil: redirect (303) to Next(r)
//	POST /logout      LogOut; redirect (303) to /login
package access
