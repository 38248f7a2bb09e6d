package dev.imago;

import dev.imago.image.CompactResult;
import dev.imago.image.Image;
import dev.imago.image.Progress;
import dev.imago.qcow2.Qcow2;
import java.io.IOException;

/** Makes the file of an image shorter without a second copy of it. */
public final class Compact {
  private Compact() {}

  /** Whether images of a format can be compacted. */
  public static boolean supported(Image image) {
    return image.format().equals(Formats.QCOW2);
  }

  /**
   * Moves clusters of a writable image from the end of its file into free space further ahead, and
   * cuts the file off. No guest byte and no snapshot changes; a crash at any instant leaves leaked
   * clusters at worst. Requests wait meanwhile.
   *
   * @throws IllegalArgumentException if the image's format cannot be compacted
   * @throws dev.imago.image.CorruptImageException if its tables or counts are bad; nothing was
   *     changed then
   */
  public static CompactResult run(Image image, Progress progress) throws IOException {
    return Qcow2.compact(image, progress);
  }
}
