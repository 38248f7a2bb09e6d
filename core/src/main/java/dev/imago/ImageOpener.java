package dev.imago;

import dev.imago.image.Image;
import java.io.IOException;

/**
 * Opens one image, as often as it is asked to: for work that must open it more than once, each time
 * in another way, where a path would not say all.
 */
@FunctionalInterface
public interface ImageOpener {
  /** Opens the image; the caller closes it. */
  Image open(OpenOptions how) throws IOException;
}
