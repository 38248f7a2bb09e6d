package dev.imago.image;

import dev.imago.storage.Storage;
import java.io.IOException;
import org.jspecify.annotations.Nullable;

/**
 * Opens what one particular image names inside itself. The door makes one for each image it opens,
 * from the caller's {@link References}; formats know nothing else of other formats.
 */
public interface ReferenceOpener {

  /**
   * Opens a backing image, read-only.
   *
   * @param name as it stands in the image; relative names are relative to the image's folder
   * @param format as it stands in the image, or null if the image does not say
   * @throws ReferenceDeniedException if the policy forbids it, or the chain is a loop or too deep
   */
  Image openBacking(String name, @Nullable String format) throws IOException;

  /**
   * Opens a data file. The name is always a literal local file name.
   *
   * @param writable false for a read-only image: the file is then never opened for writing
   */
  Storage openDataFile(String name, boolean writable) throws IOException;
}
