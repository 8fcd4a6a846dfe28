package signature_test

import (
	"fmt"
	"time"

	"contactmirror/internal/signature"
)

func ExampleKeyring_Verify() {
	shared, err := signature.ParseSecrets("Something Super Secret\n")
	if err != nil {
		panic(err)
	}
	own, err := signature.ParseTenantSecrets([]byte(`{"Cust1234": [{"secret": "between us"}]}`))
	if err != nil {
		panic(err)
	}
	keyring := signature.NewKeyring(shared, own)

	body := []byte(`{"Event":"contact.changed"}`)
	header := signature.Sign("Something Super Secret", body)
	fmt.Println(header)
	for _, tenant := range []string{"Default", "Cust1234"} {
		fmt.Println(tenant, keyring.Verify(tenant, true, header, body, time.Now()))
	}
	// Output:
	// 4/a5az9RepOCR9nB81DKf98lJefsNTXOGeEkhMHz9c8=
	// Default <nil>
	// Cust1234 signature: not made with a live secret for this tenant
}
