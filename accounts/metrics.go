package accounts

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// By what somebody logged in: a label of magpie_logins_total.
const (
	byPassword    = "password"
	byToken       = "token"
	byDevice      = "device"
	byCertificate = "certificate"
)

type metrics struct {
	hashes prometheus.Counter
	logins *prometheus.CounterVec
}

func newMetrics() metrics {
	return metrics{
		hashes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "magpie_password_hashes_total",
			Help: "Password hashes computed.",
		}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "magpie_logins_total",
			Help: "Attempts to be somebody, by what was shown and by result.",
		}, []string{"by", "result"}),
	}
}

func (m metrics) login(by string, err error) { m.logins.WithLabelValues(by, result(err)).Inc() }

func result(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrCredentials):
		return "credentials"
	case errors.Is(err, ErrDisabled):
		return "disabled"
	case errors.Is(err, ErrThrottled):
		return "throttled"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "gone" // the client, before there was an answer
	}
	return "unavailable"
}

// Collectors gives the metrics of s, to be registered once.
func (s *Service) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.metrics.hashes, s.metrics.logins}
}
