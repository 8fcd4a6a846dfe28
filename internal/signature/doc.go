// Package signature tells whether a request body was signed by SuperOffice for
// a tenant of ours.
//
// SuperOffice signs the body's bytes with HMAC-SHA256 under the webhook's
// secret and sends the standard base64 of it (its "security" page); nothing
// else of the request is signed. A [Keyring] holds the secrets that are live,
// several at a time, so that a secret can be replaced without losing an event.
// A tenant with secrets of its own is verified against those alone. Comparison
// takes the same time wherever the first difference lies.
//
// The package is pure, and no error or text it makes holds a secret.
package signature
