// Package larder is the client of Larder, a cache as a service.
//
// A process has one [Client], made by [New]. [For] is a handle for a namespace with values of one
// type, whose [Cache.GetOrFetch] computes a missing value once in all processes:
//
//	client, err := larder.New("") // LARDER_ENDPOINT, or 127.0.0.1:50051
//	users, err := larder.For[User](client, "users", larder.TTL(10*time.Minute))
//	user, err := users.GetOrFetch(ctx, "7", func(ctx context.Context) (User, error) {
//		return database.User(ctx, 7)
//	})
//
// Misses are no errors. If the cache is away, slow or full, reads are misses, loaders run, and
// writes are not stored; only calls that remove or count return an error then. [Raise] changes
// that.
//
// The package lardertest has a fake and a runner of the real server for tests.
package larder
