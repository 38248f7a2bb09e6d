package dev.imago.image;

import dev.imago.storage.Storage;
import java.io.IOException;

/**
 * Opens backing images whose names are those of no file: {@code nbd://host/export}. Who opens an
 * image brings one, if such names are to be followed at all; it is asked only under {@link
 * References#anywhere()}.
 */
public interface NameResolver {

  /**
   * Whether a name is one of those that this resolver opens; decided by how it is written.
   *
   * @param name as it stands in the image; it begins with a protocol and a colon
   */
  boolean knows(String name);

  /**
   * Opens what a name that it {@linkplain #knows knows} stands for.
   *
   * @param writable whether it may be changed
   * @throws IOException with a message that says why, without the name
   */
  Storage open(String name, boolean writable) throws IOException;
}
