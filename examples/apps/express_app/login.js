// Who is logged in: `Authorization: Bearer user-7` is user 7. A real service verifies a signed
// token here.

const TOKEN = /^Bearer user-(\d+)$/;

/** Express middleware: sets `request.user`, or answers 401. */
export function login(request, response, next) {
  const found = TOKEN.exec(request.get('authorization') ?? '');
  if (found === null) {
    response.status(401).json({ error: 'log in: Authorization: Bearer user-<number>' });
    return;
  }
  const id = Number(found[1]);
  request.user = { id, role: id <= 3 ? 'admin' : 'user' };
  next();
}
