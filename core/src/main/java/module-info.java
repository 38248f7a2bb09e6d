/**
 * Virtual disk images for the JVM.
 *
 * <p>An export is added with the first class of its package: {@code dev.imago}, {@code
 * dev.imago.image}, {@code dev.imago.storage}, {@code dev.imago.raw}, {@code dev.imago.qcow2}.
 * {@code ondisk} and {@code internal} packages stay closed.
 */
module dev.imago {
  requires static org.jspecify;
  requires com.github.luben.zstd_jni;
}
