// Package receive is the public HTTP listener: it takes SuperOffice's
// deliveries and answers 200 only for what is durable.
//
// A delivery passes signature, event and inbox in this order; nothing of it is
// believed before the signature over its raw bytes has been checked. Every
// answer but 200 counts as a failure for the sender, which retries for five
// seconds, discards the event and in the end switches the hook off, so what is
// signed but can't be understood is kept as quarantined and answered 200.
// Answers that refuse are problem documents (RFC 9457), because the sender
// stores them where its operator looks. Content-Type and the unsigned headers
// decide nothing.
//
// Strangers can reach this listener, so memory for bodies is bounded, and so is
// every wait and the number of log lines.
//
// It never applies events; the sync worker finds them in the inbox's table.
package receive
