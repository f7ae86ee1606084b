package people

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Lost is the word for a request of which nobody knows the outcome, because the connection ended before the answer.
const Lost = "lost"

// Unauthenticated is the word for credentials that were refused: whoever shows them can ask for nothing.
const Unauthenticated = "unauthenticated"

var client = &http.Client{Timeout: Deadline, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}

// Post calls a method over HTTP, with a token and an Idempotency-Key if there are any. word is the err of a refusal.
func (p *Place) Post(ctx context.Context, token, rid, method string, in any) (out map[string]any, word string) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err.Error()
	}
	_, addr, err := p.addresses()
	if err != nil {
		return nil, Lost
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/api/v1/"+method, bytes.NewReader(body))
	if err != nil {
		return nil, err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if rid != "" {
		req.Header.Set("Idempotency-Key", rid)
	}
	answer, err := client.Do(req)
	if err != nil {
		return nil, Lost
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, Lost
	}
	p.answered(method, answer, text)
	if answer.StatusCode == http.StatusOK && answer.Header.Get("Content-Type") == "application/x-ndjson" {
		return map[string]any{"lines": string(text)}, ""
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, fmt.Sprintf("status %d: %.200s", answer.StatusCode, text)
	}
	if answer.StatusCode == http.StatusOK {
		return out, ""
	}
	word, _ = out["err"].(string)
	if word == "" {
		word = fmt.Sprintf("status %d: %.200s", answer.StatusCode, text)
	}
	if answer.StatusCode == http.StatusUnauthorized && token != "" {
		word = Unauthenticated
	}
	return out, word
}
