package chat

import (
	"context"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
)

// forgetPage is how many partners of a deleted account are told at once.
const forgetPage = 256

// Leave ends all that who, whose account was deleted, has to do with others: they are told, and nothing can be sent to him any
// more; what he has said of himself is forgotten, and what he has sent as Config.WipeDeleted says. It may be called again
// after an error or a crash, and goes on then.
func (s *Service) Leave(ctx context.Context, who accounts.Name) error {
	commit, err := s.ForgetProfile(ctx, who)
	if err == nil && commit != nil {
		err = commit.Wait(ctx)
	}
	if err != nil {
		return err
	}
	for after := accounts.Name(""); ; {
		page, err := s.store.Partners(ctx, who, after, forgetPage)
		if err != nil {
			return fmt.Errorf("partners of %s: %w", who, err)
		}
		for _, other := range page {
			if err := s.part(ctx, who, other); err != nil {
				return err
			}
		}
		if len(page) < forgetPage {
			break
		}
		after = page[len(page)-1]
	}
	if err := s.desertAll(ctx, who); err != nil {
		return err
	}
	if err := s.store.Forget(ctx, who); err != nil {
		return fmt.Errorf("forget %s: %w", who, err)
	}
	return nil
}

// stillThere is for what makes something new between who and another one, after it was made: the account of one of them may
// have been deleted meanwhile, and all that he had to do with others have been ended before this was there. It is ended then,
// too. If the account is the other one's, what was made came before the deletion, as both are told; if it is who's own, the
// error is ErrGone.
func (s *Service) stillThere(ctx context.Context, who, other accounts.Name) error {
	switch gone, err := s.gone(ctx, other); {
	case err != nil:
		return err
	case gone:
		if err := s.part(ctx, other, who); err != nil {
			return err
		}
	}
	gone, err := s.gone(ctx, who)
	if err != nil || !gone {
		return err
	}
	if err := s.part(ctx, who, other); err != nil {
		return err
	}
	return fmt.Errorf("account %s: %w", who, ErrGone)
}

// stillHere is stillThere for what who has said of himself.
func (s *Service) stillHere(ctx context.Context, who accounts.Name) error {
	gone, err := s.gone(ctx, who)
	if err != nil || !gone {
		return err
	}
	commit, err := s.ForgetProfile(ctx, who)
	if err == nil && commit != nil {
		err = commit.Wait(ctx)
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("account %s: %w", who, ErrGone)
}

func (s *Service) gone(ctx context.Context, who accounts.Name) (bool, error) {
	status, err := s.dir.Status(ctx, who)
	if err != nil {
		return false, fmt.Errorf("look up %s: %w", who, err)
	}
	return status == accounts.Deleted, nil
}

// part ends what a deleted account has to do with one other.
func (s *Service) part(ctx context.Context, who, other accounts.Name) error {
	_, commit, err := s.change(ctx, ToLeave(who, other), nil)
	if err == nil && commit != nil {
		err = commit.Wait(ctx)
	}
	if err != nil {
		return err
	}
	if !s.cfg.WipeDeleted {
		return nil
	}
	if err := s.store.Wipe(ctx, Direct(who, other), who); err != nil {
		return fmt.Errorf("wipe what %s sent to %s: %w", who, other, err)
	}
	return nil
}
