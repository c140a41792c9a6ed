package dev.larder.tests;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;

/** A TCP proxy whose connections can die in silence, as those of a NAT that forgets them. */
final class SilentProxy implements AutoCloseable {
  private final ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
  private final List<Link> links = new CopyOnWriteArrayList<>();
  private final String host;
  private final int port;

  SilentProxy(String target) throws IOException {
    host = target.split(":")[0];
    port = Integer.parseInt(target.split(":")[1]);
    daemon(this::accept);
  }

  private static final class Link {
    final Socket client;
    final Socket server;
    volatile boolean silent;

    Link(Socket client, Socket server) {
      this.client = client;
      this.server = server;
    }
  }

  String target() {
    return "127.0.0.1:" + listener.getLocalPort();
  }

  /** How many connections there were. */
  int accepted() {
    return links.size();
  }

  /** The connections of now stay open, and deliver nothing any more. */
  void silence() {
    links.forEach(link -> link.silent = true);
  }

  private static void daemon(Runnable action) {
    Thread thread = new Thread(action, "proxy");
    thread.setDaemon(true);
    thread.start();
  }

  private void accept() {
    try {
      while (true) {
        Link link = new Link(listener.accept(), new Socket(host, port));
        links.add(link);
        daemon(() -> pump(link, link.client, link.server));
        daemon(() -> pump(link, link.server, link.client));
      }
    } catch (IOException closed) {
      links.forEach(SilentProxy::end);
    }
  }

  private static void pump(Link link, Socket from, Socket to) {
    byte[] buffer = new byte[8192];
    try (InputStream in = from.getInputStream();
        OutputStream out = to.getOutputStream()) {
      for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
        if (!link.silent) {
          out.write(buffer, 0, count);
        }
      }
    } catch (IOException broken) {
      end(link);
    }
  }

  private static void end(Link link) {
    try {
      link.client.close();
      link.server.close();
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }

  @Override
  public void close() throws IOException {
    listener.close();
  }
}
