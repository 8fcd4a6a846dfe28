// Package signature tells whether a request body was signed by SuperOffice for
// a tenant of ours.
//
// SuperOffice signs the body's bytes with HMAC-SHA256 under the webhook's
// secret and sends the standard base64 of it (its "security" page); nothing
// else of the request is signed. A [Keyring] holds the secrets that are live,
// several at a time, so that a secret can be replaced without losing an event.
// A tenant with secrets of its own is verified against those alone, and a body that
// does not tell its tenant against all, unless that costs too much. How long a
// check takes does not depend on where the first difference lies, nor on which
// of several secrets matches. When each last matched is noted, so that an
// operator sees a rotation arrive, or a wrong secret being refused.
//
// The package is pure, and no error or text it makes holds a secret.
package signature
