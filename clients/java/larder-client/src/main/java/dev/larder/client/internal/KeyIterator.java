package dev.larder.client.internal;

import dev.larder.client.KeyPage;
import dev.larder.client.ListedKey;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.function.Function;

/** Goes through the pages of a list of keys. */
public final class KeyIterator implements Iterator<ListedKey> {
  private final Function<String, KeyPage> pages;
  private Iterator<ListedKey> page = List.<ListedKey>of().iterator();
  private String token = "";
  private boolean last;

  /** An iterator over the pages that the function returns for their tokens. */
  public KeyIterator(Function<String, KeyPage> pages) {
    this.pages = pages;
  }

  @Override
  public boolean hasNext() {
    while (!page.hasNext() && !last) {
      KeyPage next = pages.apply(token);
      page = next.keys().iterator();
      token = next.next();
      last = token.isEmpty();
    }
    return page.hasNext();
  }

  @Override
  public ListedKey next() {
    if (!hasNext()) {
      throw new NoSuchElementException("there are no more keys");
    }
    return page.next();
  }
}
