package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
)

var (
	errNoToken = echo.NewHTTPError(http.StatusUnauthorized,
		"Send the token of CONTACTMIRROR_ADMIN_TOKEN: Authorization: Bearer TOKEN.")
	errForeignName = echo.NewHTTPError(http.StatusForbidden,
		"Without a token this answers only to localhost, 127.0.0.1 or [::1] by that name. Behind a proxy, set CONTACTMIRROR_ADMIN_TOKEN.")
	errForeignPage = echo.NewHTTPError(http.StatusForbidden,
		"A page of another site asks for this.")
)

// guard lets nobody but the operator in. /healthz is open: a probe has neither
// token nor name, and the answer says no more than that something listens.
func (a *Admin) guard(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		req := c.Request()
		switch {
		case req.URL.Path == "/healthz":
		case a.config.Token != "":
			if !bears(req, a.config.Token) {
				return errNoToken
			}
		// Whoever reaches a loopback address is on this machine, but may be a
		// browser there that shows a stranger's page. The page's own name for the
		// address betrays it where it was rebound to loopback, and else the browser
		// says who asks.
		case !loopbackName(req.Host):
			return errForeignName
		case foreignPage(req):
			return errForeignPage
		}
		return next(c)
	}
}

// bears reports whether req carries token. How long it takes tells nothing of
// the token, its length included.
func bears(req *http.Request, token string) bool {
	scheme, given, _ := strings.Cut(req.Header.Get(echo.HeaderAuthorization), " ")
	a, b := sha256.Sum256([]byte(strings.TrimSpace(given))), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

// loopbackName reports whether host, with a port or without, can only mean the
// machine that says it.
func loopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

// foreignPage reports whether a browser says that a page of another site asks.
// What is no browser says nothing.
func foreignPage(req *http.Request) bool {
	switch req.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return true
	}
	origin := req.Header.Get(echo.HeaderOrigin)
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != req.Host
}
