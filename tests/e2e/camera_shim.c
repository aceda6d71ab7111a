/* A virtual camera without a kernel module: LD_PRELOAD this into a process that writes to a v4l2loopback device.
 *
 * The path in CAMERA_SHIM_DEVICE opens as a loopback device that takes I420. What happens to it is written to the file
 * in CAMERA_SHIM_LOG, a line each: "open", "format WIDTH HEIGHT FOURCC BYTES", "frame NANOSECONDS BYTES HASH", "close".
 * The first CAMERA_SHIM_KEEP frames go to the file in CAMERA_SHIM_FRAMES, byte for byte; if CAMERA_SHIM_BYTES is set,
 * only so many of each.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static int camera = -1; /* its descriptor while it is open */
static long kept;

static void note(const char *format, ...) {
    const char *path = getenv("CAMERA_SHIM_LOG");
    FILE *log = path ? fopen(path, "a") : NULL;
    if (!log)
        return;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(log, format, arguments);
    va_end(arguments);
    fputc('\n', log);
    fclose(log);
}

static int open_camera(void) {
    if (camera != -1) {
        errno = EBUSY;
        return -1;
    }
    int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    camera = next("/dev/null", O_WRONLY | O_CLOEXEC); /* a descriptor nobody else will get */
    note("open");
    return camera;
}

static int is_camera(const char *path) {
    const char *device = getenv("CAMERA_SHIM_DEVICE");
    return device && path && !strcmp(path, device);
}

int open(const char *path, int flags, ...) {
    if (is_camera(path))
        return open_camera();
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    int (*next)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    return next(path, flags, mode);
}

int ioctl(int descriptor, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (descriptor != camera || camera == -1) {
        int (*next)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
        return next(descriptor, request, argument);
    }
    if (request == VIDIOC_QUERYCAP) {
        struct v4l2_capability *capability = argument;
        memset(capability, 0, sizeof *capability);
        strcpy((char *)capability->driver, "v4l2 loopback");
        strcpy((char *)capability->card, "camera shim");
        capability->capabilities = V4L2_CAP_VIDEO_OUTPUT | V4L2_CAP_READWRITE;
        return 0;
    }
    if (request == VIDIOC_S_FMT) {
        struct v4l2_pix_format *pix = &((struct v4l2_format *)argument)->fmt.pix;
        uint32_t chroma = ((pix->width + 1) / 2) * ((pix->height + 1) / 2);
        pix->bytesperline = pix->width;
        pix->sizeimage = pix->width * pix->height + 2 * chroma;
        note("format %u %u %.4s %u", pix->width, pix->height, (const char *)&pix->pixelformat, pix->sizeimage);
        return 0;
    }
    errno = EINVAL;
    return -1;
}

ssize_t write(int descriptor, const void *data, size_t count) {
    ssize_t (*next)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (descriptor != camera || camera == -1)
        return next(descriptor, data, count);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t hash = 14695981039346656037u; /* FNV-1a over words: enough to tell pictures apart */
    for (size_t place = 0; place + 8 <= count; place += 8) {
        uint64_t word;
        memcpy(&word, (const char *)data + place, 8);
        hash = (hash ^ word) * 1099511628211u;
    }
    note("frame %lld %zu %016" PRIx64, (long long)now.tv_sec * 1000000000 + now.tv_nsec, count, hash);
    const char *keep = getenv("CAMERA_SHIM_KEEP"), *path = getenv("CAMERA_SHIM_FRAMES");
    const char *bytes = getenv("CAMERA_SHIM_BYTES");
    size_t most = bytes ? (size_t)atol(bytes) : count;
    if (keep && path && kept < atol(keep)) {
        FILE *frames = fopen(path, "ab");
        if (frames) {
            fwrite(data, 1, most < count ? most : count, frames);
            fclose(frames);
            kept++;
        }
    }
    return (ssize_t)count;
}

int close(int descriptor) {
    if (descriptor == camera && camera != -1) {
        camera = -1;
        note("close");
    }
    int (*next)(int) = dlsym(RTLD_NEXT, "close");
    return next(descriptor);
}
