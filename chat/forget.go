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
	if err := s.store.Forget(ctx, who); err != nil {
		return fmt.Errorf("forget %s: %w", who, err)
	}
	return nil
}

// stillThere is for what makes something new between who and another one, after it was made: the other one's account may have
// been deleted meanwhile, and all that he had to do with others have been ended before this was there. It is ended then, and the
// error is ErrGone.
func (s *Service) stillThere(ctx context.Context, who, other accounts.Name) error {
	status, err := s.dir.Status(ctx, other)
	if err != nil {
		return fmt.Errorf("look up %s: %w", other, err)
	}
	if status != accounts.Deleted {
		return nil
	}
	if err := s.part(ctx, other, who); err != nil {
		return err
	}
	return fmt.Errorf("account %s: %w", other, ErrGone)
}

// part ends what a deleted account has to do with one other.
func (s *Service) part(ctx context.Context, who, other accounts.Name) error {
	_, commit, err := s.change(ctx, ToLeave(who, other))
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
