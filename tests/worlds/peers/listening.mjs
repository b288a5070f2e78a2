// What the servers here share: a free port of this machine, and the one line that says where it is.
import { createServer } from 'node:http';

/**
 * Serve, print the URL, and end with the program that started this one.
 *
 * @param build makes the request listener for the server's own URL.
 */
export async function serve(build) {
    const server = createServer();
    await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${server.address().port}`;
    server.on('request', await build(url));
    process.stdin.on('end', () => process.exit(0)).resume();
    console.log(url);
}
