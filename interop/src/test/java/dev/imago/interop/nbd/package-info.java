/** The NBD client and its commands against the servers that others have. */
@NullMarked
package dev.imago.interop.nbd;

import org.jspecify.annotations.NullMarked;
