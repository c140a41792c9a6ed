package dev.larder.client.internal;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Where a client connects to.
 *
 * @param uri in the syntax of gRPC
 * @param unix whether it is a socket of the file system
 * @param loopback whether all addresses are on this machine
 */
record Target(String uri, boolean unix, boolean loopback) {
  private static final Pattern SCHEME = Pattern.compile("([a-z][a-z0-9+.-]*)://[^/]*/(.*)");
  private static final Pattern ADDRESS =
      Pattern.compile("(\\[[0-9a-fA-F:.%]+]|[^:\\[\\]\\s/]+):(\\d{1,5})");
  private static final int MAX_PORT = 65_535;

  /**
   * Reads {@code host:port}, {@code dns:///host:port}, {@code unix:path}, or several addresses
   * separated by commas.
   *
   * @throws IllegalArgumentException with the part that is wrong
   */
  static Target parse(String target) {
    if (target.startsWith("unix:") || target.startsWith("unix-abstract:")) {
      return new Target(target, true, true);
    }
    Matcher scheme = SCHEME.matcher(target);
    boolean qualified = scheme.matches();
    if (qualified && !scheme.group(1).equals("dns")) {
      throw new IllegalArgumentException(
          "target: the scheme " + scheme.group(1) + " is not supported");
    }
    String rest = qualified ? scheme.group(2) : target.replaceFirst("^dns:(?!\\d+$)", "");
    List<String> addresses = new ArrayList<>();
    boolean loopback = true;
    for (String part : rest.split(",", -1)) {
      Matcher address = ADDRESS.matcher(part.trim());
      if (!address.matches()) {
        throw new IllegalArgumentException("target: expected host:port, got \"" + part + "\"");
      }
      int port = Integer.parseInt(address.group(2));
      if (port < 1 || port > MAX_PORT) {
        throw new IllegalArgumentException("target: " + port + " is not a port");
      }
      addresses.add(part.trim());
      loopback &= isLoopback(address.group(1));
    }
    if (addresses.size() == 1) {
      String uri =
          qualified
              ? target.substring(0, scheme.start(2)) + escape(addresses.get(0))
              : dns(addresses.get(0));
      return new Target(uri, false, loopback);
    }
    return new Target(AddressList.uri(addresses), false, loopback);
  }

  /** The name of one address for gRPC. */
  static String dns(String address) {
    return "dns:///" + escape(address);
  }

  /** In the path of a URI, the brackets of an IPv6 address must not stand. */
  static String escape(String address) {
    return address.replace("%", "%25").replace("[", "%5B").replace("]", "%5D");
  }

  private static boolean isLoopback(String host) {
    String name = host.toLowerCase(Locale.ROOT).replaceAll("[\\[\\]]", "");
    return name.equals("localhost")
        || name.endsWith(".localhost")
        || name.matches("127(\\.\\d{1,3}){3}")
        || name.equals("::1")
        || name.equals("0:0:0:0:0:0:0:1");
  }
}
