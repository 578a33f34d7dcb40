// Package access says which account makes a request of the admin address, and what the account may
// do.
//
// A [Gate] stands before every handler of the admin address. It refuses foreign Hosts (DNS
// rebinding) and foreign Origins (requests that another site's page makes), and checks the login of
// a request: a user's password (Basic) or a token (Bearer). Failed logins are limited for each
// client. Handlers get the account by [PrincipalOf]; the zero [Principal] may do nothing.
//
// The accounts are those of the configuration. Configure replaces them at each reload.
package access
