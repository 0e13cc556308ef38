package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// CheckConditions finds out whether the store really keeps the conditions of
// puts. Some servers that speak S3's protocol accept them and overwrite all the
// same, and locks and recovery points would be lost there without a word. It
// puts an object under key, which must be free, and deletes it where it may.
func CheckConditions(ctx context.Context, s Store, key string) error {
	first, second := []byte("put if absent"), []byte("must not be put")
	if _, err := s.Put(ctx, key, first, PutOptions{IfAbsent: true}); err != nil {
		return err
	}
	_, errAbsent := s.Put(ctx, key, second, PutOptions{IfAbsent: true})
	_, errMatch := s.Put(ctx, key, second, PutOptions{IfMatch: `"00000000000000000000000000000000"`})
	got, err := ReadAll(ctx, s, key)
	if deleteErr := s.Delete(ctx, key); deleteErr != nil && !errors.Is(deleteErr, fs.ErrPermission) {
		err = errors.Join(err, deleteErr)
	}
	switch {
	case err != nil:
		return err
	case errAbsent != nil && !errors.Is(errAbsent, fs.ErrExist):
		return errAbsent
	case errMatch != nil && !errors.Is(errMatch, ErrChanged):
		return errMatch
	case errAbsent == nil || errMatch == nil || !bytes.Equal(got, first):
		return fmt.Errorf("%s: the store ignores conditions of puts (If-None-Match, If-Match): it can't keep archives", key)
	}
	return nil
}
